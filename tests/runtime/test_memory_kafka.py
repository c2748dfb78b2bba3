"""The twin of Kafka in memory, where its order matters."""

from __future__ import annotations

import asyncio

from runtime.memory_kafka import MemoryBroker, MemorySource


async def test_topics_and_their_partitions_take_turns() -> None:
    broker = MemoryBroker(num_partitions=2)
    for number in range(40):
        broker.append("behind", number % 2, b"")
    async with MemorySource(broker, ["behind", "calm"], group_id="group") as source:
        first = await source.getmany(5, 1.0)
        broker.append("calm", 1, b"")
        second = await source.getmany(5, 1.0)
        third = await source.getmany(5, 1.0)
    assert [(each.topic, each.partition) for each in first] == 5 * [("behind", 0)]
    assert [(each.topic, each.partition) for each in second] == [("calm", 1), *4 * [("behind", 1)]]
    assert [(each.topic, each.partition) for each in third] == 5 * [("behind", 0)]


async def test_a_read_that_waits_is_woken_by_what_is_resumed() -> None:
    broker = MemoryBroker(num_partitions=1)
    broker.append("topic", 0, b"")
    async with MemorySource(broker, ["topic"], group_id="group") as source:
        source.pause({("topic", 0)})
        reading = asyncio.ensure_future(source.getmany(5, 60.0))
        await asyncio.sleep(0)
        source.resume({("topic", 0)})
        async with asyncio.timeout(10.0):
            assert len(await reading) == 1
