"""Characters that no FHIR string can contain, because XML 1.0 cannot represent them (FHIR R4 datatypes.html#string).

PostgreSQL's texts can contain all others.
"""

from __future__ import annotations

import re

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
