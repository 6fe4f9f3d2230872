"""What a DiGA may see, searched and read."""
