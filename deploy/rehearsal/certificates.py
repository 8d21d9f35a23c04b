"""Certificates of a private authority, in a folder for each user of an image."""

import os
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from stack import Stack

NAMES = ["postgres", "temporal", "client", "mail", "proxy"]
USERS = [0, 999, 1000, 10001]
ALIASES = {"proxy": ["api.shop.example", "localhost"]}


def write(shop: Stack, texts: dict[str, str]) -> None:
    """Create an authority, certificates that it signs, and files with these texts, in the folder `tls`."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rehearsal")])
    files = {"ca.pem": _certificate(issuer, issuer, authority, authority, [], ca=True)}
    for name in NAMES:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        files[f"{name}.pem"] = _certificate(subject, issuer, key, authority, ALIASES.get(name, [name]))
        files[f"{name}.key"] = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    files |= {name: text.encode() for name, text in texts.items()}
    for user in USERS:
        folder = shop.folder / "tls" / str(user)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o400 if user else 0o444)  # the mail server starts as root and changes its user
            os.chown(folder / name, user, user)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    names: list[str],
    *,
    ca: bool = False,
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if ca:  # Python 3.13 and newer require this, and both identifiers
        usage = dict.fromkeys(("digital_signature", "key_cert_sign", "crl_sign"), True)
        others = "content_commitment key_encipherment data_encipherment key_agreement encipher_only decipher_only"
        builder = builder.add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others.split(), False)), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
