"""The table of issued credentials says of each row where the form was looked up."""

from ctxgc.core.credential_kinds import CREDENTIAL_KINDS, SOURCES


def test_a_form_from_memory_claims_no_date_of_a_look():
    for kind in CREDENTIAL_KINDS:
        assert kind.source in SOURCES
        assert bool(kind.looked_up) is (kind.source != "recalled"), kind
