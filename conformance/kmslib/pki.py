"""A small certificate authority made with the openssl command, for servers and clients under test."""

import hashlib
import pathlib
import subprocess


def _openssl(*args, **how):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, check=False, **how)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Authority:
    """Signs certificates and revokes them."""

    def __init__(self, base, name="authority"):
        self.dir = pathlib.Path(base) / name
        self.dir.mkdir(parents=True)
        self.key, self.pem = self.dir / "ca.key", self.dir / "ca.pem"
        self._new_key(self.key)
        _openssl("req", "-x509", "-new", "-key", self.key, "-subj", f"/CN={name}", "-days", 30, "-out", self.pem,
                 "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        for file, text in (("index.txt", ""), ("serial", "01\n"), ("crlnumber", "01\n")):
            (self.dir / file).write_text(text)
        self.config = self.dir / "ca.cnf"
        self.config.write_text(
            f"[ca]\ndefault_ca = a\n[a]\ndatabase = {self.dir}/index.txt\nserial = {self.dir}/serial\n"
            f"crlnumber = {self.dir}/crlnumber\nnew_certs_dir = {self.dir}\ncertificate = {self.pem}\n"
            f"private_key = {self.key}\ndefault_md = sha256\npolicy = p\ndefault_crl_days = 7\n"
            "unique_subject = no\n[p]\ncommonName = supplied\n"
        )

    @staticmethod
    def _new_key(path):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)

    def issue(self, name, san, usage="clientAuth", dates=("-days", 7)):
        """A key and a certificate; `san` as openssl writes it, such as `URI:spiffe://acme/a`."""
        key, request, pem, extensions = (self.dir / f"{name}.{kind}" for kind in ("key", "csr", "pem", "ext"))
        self._new_key(key)
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        extensions.write_text(f"subjectAltName={san}\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n")
        _openssl("ca", "-batch", "-config", self.config, "-in", request, "-out", pem, "-notext", "-extfile", extensions,
                 *dates)
        return Issued(key, pem)

    def revoke(self, issued):
        _openssl("ca", "-config", self.config, "-revoke", issued.pem)

    def crl(self, path):
        """Writes the current list of revoked certificates."""
        _openssl("ca", "-config", self.config, "-gencrl", "-out", path)


class Issued:
    """A certificate with its key."""

    def __init__(self, key, pem):
        self.key, self.pem = key, pem

    @property
    def der(self):
        return _openssl("x509", "-in", self.pem, "-outform", "DER")

    def fingerprint(self):
        return "sha256:" + hashlib.sha256(self.der).hexdigest()

    def public_key(self):
        """Digest of the SubjectPublicKeyInfo."""
        pem = _openssl("x509", "-in", self.pem, "-noout", "-pubkey")
        return "sha256:" + hashlib.sha256(_openssl("pkey", "-pubin", "-outform", "DER", input=pem)).hexdigest()
