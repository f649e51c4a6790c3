"""The pjsua2 endpoint: the laws of SIP endpoints, and what it alone does."""

from __future__ import annotations

import pytest

from tests.contracts.sip_endpoint_laws import SipEndpointAloneLaws, SipEndpointLaws
from tests.services.needed import pjsua2_module, services

pytestmark = services


@pytest.fixture(autouse=True, scope="module")
def _module() -> None:
    pjsua2_module()


class TestPjsuaEndpoint(SipEndpointLaws):
    ENDPOINT = "pjsua2"
    SOME_COUNTED = True


class TestPjsuaEndpointAlone(SipEndpointAloneLaws):
    ENDPOINT = "pjsua2"
