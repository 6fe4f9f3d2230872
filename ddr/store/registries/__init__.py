"""What DiGA-VZ, HIIS-VZ and ZTS said, and the versions of ValueSets."""
