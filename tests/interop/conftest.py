"""Fixtures: two real authorities, each started once for a run and stopped by its pid.

INTEROP_BUILD is where node packages are installed (default build/interop), MLTOKEN_BUILD where our programs are."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))  # the harness

import interop_glewlwyd  # noqa: E402
import interop_oidc_provider  # noqa: E402


@pytest.fixture(scope="session")
def oidc_provider_folder():
    return interop_oidc_provider.install(os.environ.get("INTEROP_BUILD") or ROOT / "build" / "interop")


@pytest.fixture(scope="session")
def oidc_provider(tmp_path_factory, oidc_provider_folder):
    with interop_oidc_provider.running(oidc_provider_folder, tmp_path_factory.mktemp("oidc-provider")) as server:
        yield server


@pytest.fixture(scope="session")
def glewlwyd(tmp_path_factory):
    with interop_glewlwyd.running(tmp_path_factory.mktemp("glewlwyd")) as server:
        yield server


@pytest.fixture(scope="session", params=["oidc_provider", "glewlwyd"])
def authority(request):
    return request.getfixturevalue(request.param)
