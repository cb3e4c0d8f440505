"""What of aiokafka has to be different in every client of it."""

from functools import partial
from typing import Any, cast

from aiokafka import client
from aiokafka.protocol.metadata import MetadataRequest


def make_no_topics() -> None:
    """Have aiokafka ask for topics without making them. Topics have a layout: a broker that makes what it is asked for would
    make them with another one; and aiokafka has no setting for it.
    """
    cast(Any, client).MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)
