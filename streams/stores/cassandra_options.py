"""Options to reach a Cassandra cluster. Does not import the driver, so that settings can be read without it."""

import re
import ssl

import msgspec

from streams.stores.base import StoreMisconfigured

# A LOCAL_QUORUM read sees every earlier LOCAL_QUORUM write. A weak read does so only if a row has a single copy.
STRONG = ("LOCAL_QUORUM", "QUORUM", "ALL")
WEAK = ("LOCAL_ONE", "ONE")


class CassandraTls(msgspec.Struct, frozen=True, kw_only=True):
    """Encryption of the connections to the servers; all files are in PEM format."""

    ca_file: str | None = None  # None: the authorities that the system trusts
    cert_file: str | None = None  # a client certificate, for servers that ask for one
    key_file: str | None = None
    verify_hostname: bool = True  # the certificates must name the servers' addresses as the cluster gives them

    def context(self) -> ssl.SSLContext:
        """Return the SSL context; raise `StoreMisconfigured` if a file can't be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # includes ssl.SSLError
            names = ", ".join(name for name in (self.ca_file, self.cert_file, self.key_file) if name)
            raise StoreMisconfigured(
                f"The TLS files for Cassandra ({names}) can't be used: {error}. They must be readable PEM files, "
                "and the key must fit the certificate."
            ) from error
        context.check_hostname = self.verify_hostname
        return context


class CassandraOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the cluster is, and with which consistency. All workers of a keyspace must be in one datacentre."""

    hosts: list[str]
    port: int = 9042
    keyspace: str = "prefstream"
    local_dc: str | None = None  # None: the datacentre of the first host that answers
    username: str | None = None
    password: str | None = None
    tls: CassandraTls | None = None
    replication: dict[str, int] | int = 1  # copies in each datacentre, or by its name; used only to create the keyspace
    consistency: str = "LOCAL_QUORUM"
    request_timeout_s: float = 5.0
    create_keyspace: bool = True  # False: the keyspace must exist; tables are created in any case

    def __post_init__(self) -> None:
        if not self.hosts:
            raise StoreMisconfigured("Cassandra needs at least one host to connect to: the list of hosts is empty.")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", self.keyspace):
            raise StoreMisconfigured(
                f"The Cassandra keyspace {self.keyspace!r} must be 1 to 48 lower-case letters, digits and underscores, "
                "with a letter first."
            )
        if self.consistency not in STRONG + WEAK:
            raise StoreMisconfigured(
                f"The Cassandra consistency {self.consistency!r} must be one of {', '.join(STRONG + WEAK)}."
            )

    @property
    def where(self) -> str:
        """The cluster, as error messages name it."""
        return f"Cassandra at {', '.join(f'{host}:{self.port}' for host in self.hosts)} (keyspace {self.keyspace})"
