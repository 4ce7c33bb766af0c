"""VoiceEndpoint, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import MacAgent, Resource, VoiceContract, VoiceEndpoint
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.endpoint.reconcile import EndpointReconciler
from voxfleet_operator.reconcile.registration import Registration
from voxfleet_operator.triggers import endpoints_of_mac, waiting_endpoints


def woken_by(changed: Resource, cache: Cache) -> set[Key]:
    """A contract wakes the endpoints that it keeps waiting, a Mac those with a lane there and those that lack one, and
    an endpoint that gave up a lane those that lack one.
    """
    match changed:
        case VoiceContract():
            found = [item for item in cache.all(VoiceEndpoint, changed.metadata.namespace) if _waits_for(item, changed)]
        case MacAgent():
            found = endpoints_of_mac(changed.metadata.name, cache)
        case VoiceEndpoint():
            found = waiting_endpoints(cache)
        case _:
            found = []
    return {key_of(item) for item in found}


def _waits_for(endpoint: VoiceEndpoint, contract: VoiceContract) -> bool:
    stored = endpoint.status.contract
    accepted = stored is not None and stored.generation == endpoint.metadata.generation
    return not accepted and endpoint.spec.contract_ref.name == contract.metadata.name


REGISTRATION = Registration(VoiceEndpoint, EndpointReconciler, woken_by)
