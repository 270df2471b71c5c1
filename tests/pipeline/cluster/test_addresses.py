"""Which schedulers are reached, and by whom."""

from pathlib import Path

import pytest
from distributed import Security

from longtail.errors import InputError
from longtail.pipeline.cluster.addresses import LOCAL, check_address, security

OPEN = "not encrypted: whoever reaches this port can run code as you"


@pytest.mark.parametrize(
    "address", [LOCAL, "tcp://localhost:8786", "tcp://[::1]:8786", "tls://node7:8786", "tls://10.0.0.5:1"]
)
def test_this_machine_and_encrypted_addresses_need_no_consent(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_address(address, insecure=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("address", ["tcp://node7:8786", "tcp://10.0.0.5:8786", "tcp://127.0.0.1.evil.org:1"])
def test_strangers_need_consent_which_says_what_it_means(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=f"^{address}: {OPEN}; use tls:// .* --insecure"):
        check_address(address, insecure=False)
    check_address(address, insecure=True)
    assert capsys.readouterr().err == f"warning: {address}: {OPEN}\n"


@pytest.mark.parametrize("address", ["", "8786", "tcp://node7", "http://127.0.0.1:8786", "tcp://a b:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="not the address of a scheduler; give tcp://HOST:PORT"):
        check_address(address, insecure=True)


def test_tls_wants_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import dask.config

    assert security(LOCAL) is None
    with pytest.raises(InputError, match="no certificates"):
        security("tls://node7:8786")
    made = Security.temporary()
    for name, text in (
        ("ca", made.tls_ca_file),
        ("cert", made.tls_worker_cert),
        ("key", made.tls_worker_key),
    ):
        (tmp_path / name).write_text(str(text))
    role = {"cert": str(tmp_path / "cert"), "key": str(tmp_path / "key")}
    tls = {"ca-file": str(tmp_path / "ca"), "client": role, "worker": role}
    with dask.config.set({"distributed.comm.tls": {**dask.config.get("distributed.comm.tls"), **tls}}):
        found = security("tls://node7:8786")
        assert found is not None
        assert found.require_encryption
    (tmp_path / "key").unlink()
    with (
        dask.config.set({"distributed.comm.tls": {**dask.config.get("distributed.comm.tls"), **tls}}),
        pytest.raises(InputError, match="no certificates"),
    ):
        security("tls://node7:8786")
