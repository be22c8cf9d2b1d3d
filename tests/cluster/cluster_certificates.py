"""Keys, certificates and kubeconfigs of a test cluster: one throw-away authority signs everybody.

`control_plane.py` makes them at each start. They live as long as the cluster's directory.
"""

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=30)
# Clocks of pods and nodes may be behind.
BACKDATED = datetime.timedelta(hours=1)
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority whose files lie in one directory: `ca.crt`, and a `.crt` and a `.key` for each client."""

    def __init__(self, directory: Path, now: datetime.datetime) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.now = now
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "everforge test cluster")])
        builder = self._builder(self.name, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(SIGNS_CERTIFICATES, critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.ca_path = directory / "ca.crt"
        self.ca_path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, file_name: str, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()
    ) -> tuple[Path, Path]:
        """Certificate and key of a user, or of a server at `hosts`; returns their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = self._builder(subject, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([alternative(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        path = self.directory / f"{file_name}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path, write_key(self.directory / f"{file_name}.key", key)

    def kubeconfig(self, path: Path, server: str, user: str, groups: Sequence[str] = ()) -> Path:
        """Write a kubeconfig that needs no other file, so that it can be copied elsewhere."""
        certificate, key = self.issue(path.stem, user, groups)
        entry = {
            "cluster": {"server": server, "certificate-authority-data": encoded(self.ca_path)},
            "user": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)},
            "context": {"cluster": "everforge", "user": user},
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "everforge", "cluster": entry["cluster"]}],
            "users": [{"name": user, "user": entry["user"]}],
            "contexts": [{"name": "everforge", "context": entry["context"]}],
            "current-context": "everforge",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        """What every certificate has."""
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - BACKDATED)
            .not_valid_after(self.now + LIFETIME)
            # Python 3.13 refuses certificates without these two.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )


def alternative(host: str) -> x509.GeneralName:
    """A host as a certificate names it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Write a private key that nobody else may read."""
    path.touch(mode=0o600)
    # The API server finds the public half of a token key in this form alone.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return path


def encoded(path: Path) -> str:
    """A file as kubeconfigs carry it."""
    return base64.b64encode(path.read_bytes()).decode()


def signing_key(path: Path) -> Path:
    """The key that signs the tokens of service accounts; the API server reads its public half from the same file."""
    return write_key(path, ec.generate_private_key(ec.SECP256R1()))
