"""The table of issued credentials says of each row where the form was looked up."""

from ctxgc.core.redaction.credential_kinds import CREDENTIAL_KINDS, SOURCES


def test_every_form_names_a_source_of_the_list():
    assert {kind.source for kind in CREDENTIAL_KINDS} <= SOURCES.keys()
