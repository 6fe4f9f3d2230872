"""The profile of BSI TR-02102-2: protocol versions, cipher suites, groups and signature algorithms (TLS-002).

Python's ssl module can only set the TLS 1.2 suites. The rest is in an OpenSSL configuration file, which must be in
force when a process loads libcrypto, so the supervisor names it in the environment of its workers.
"""

from __future__ import annotations

from pathlib import Path

from ddr.drafts import draft

TLS12_SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
TLS13_SUITES = ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")
GROUPS = ("secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1")
SIGNATURES = (
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pss_pss_sha256",
    "rsa_pss_pss_sha384",
    "rsa_pss_pss_sha512",
)

CONFIGURATION = f"""\
openssl_conf = openssl_init

[openssl_init]
ssl_conf = ssl_configuration

[ssl_configuration]
system_default = bsi_tr_02102_2

[bsi_tr_02102_2]
MinProtocol = TLSv1.2
CipherString = {":".join(TLS12_SUITES)}
Ciphersuites = {":".join(TLS13_SUITES)}
Groups = {":".join(GROUPS)}
SignatureAlgorithms = {":".join(SIGNATURES)}
"""


def environment(folder: Path) -> dict[str, str]:
    """Environment variables that put the profile into force in a child process; the file is in `folder`.

    Raises OSError when it must be written and cannot be.
    """
    path, content = (folder / "openssl.cnf").absolute(), CONFIGURATION.encode()
    if not path.is_file() or path.read_bytes() != content:
        with draft(path) as file:
            file.write(content)
    return {"OPENSSL_CONF": str(path)}
