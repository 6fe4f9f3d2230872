"""Who a patient is, as the manufacturer's OpenID provider says."""
