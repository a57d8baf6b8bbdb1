"""Several stores shown as one keep to themselves."""

import pytest

from s3rolefs.errors import Reason, StoreError
from s3rolefs.model import Key
from s3rolefs.s3.faults import Fault, FaultyStore
from s3rolefs.s3.joint import JointStore, Part
from s3rolefs.s3.memory import MemoryStore
from s3rolefs.s3.store import ObjectAttributes

PLAIN = ObjectAttributes()


@pytest.fixture
def stores():
    return FaultyStore(MemoryStore()), FaultyStore(MemoryStore())


@pytest.fixture
def joint(stores):
    one, two = stores
    return JointStore(
        [
            Part(outer="one/", store=one, inner=""),
            Part(outer="two/", store=two, inner="deep/"),
            Part(outer="too/", store=two, inner="other/"),
        ]
    )


async def keys_of(store):
    return [info.key for info in (await store.list_page("", delimiter="")).objects]


async def test_each_key_goes_to_its_store(joint, stores):
    one, two = stores
    for key in ("one/f", "two/f", "too/f"):
        await joint.put(Key(key), key.encode(), PLAIN)
        assert (await joint.head(Key(key))).key == key
    assert await keys_of(one) == ["f"]
    assert await keys_of(two) == ["deep/f", "other/f"]


async def test_the_root_lists_the_parts_empty_or_not(joint):
    page = await joint.list_page("")
    assert (page.objects, page.prefixes, page.next_token) == ((), ("one/", "too/", "two/"), None)
    assert (await joint.list_page("t")).prefixes == ("too/", "two/")
    assert (await joint.list_page("nothing/", delimiter="")).objects == ()
    with pytest.raises(StoreError, match="cannot be listed as one") as caught:
        await joint.list_page("", delimiter="")
    assert caught.value.reason is Reason.UNSUPPORTED


async def test_copies_between_parts_are_refused_before_anything_is_asked(joint, stores):
    await joint.put(Key("one/f"), b"x", PLAIN)
    upload = await joint.create_multipart(Key("two/f"), PLAIN)
    for store in stores:
        store.plan(Fault(times=None, reason=Reason.CORRUPT))
    for target in ("two/f", "too/f"):
        with pytest.raises(StoreError) as caught:
            await joint.copy(Key("one/f"), Key(target))
        assert caught.value.reason is Reason.CROSS_DEVICE
    with pytest.raises(StoreError) as caught:
        await joint.upload_part_copy(Key("two/f"), upload, 1, source=Key("one/f"), offset=0, length=1)
    assert caught.value.reason is Reason.CROSS_DEVICE
    # Two parts of one bucket may belong to two roles.
    with pytest.raises(StoreError) as caught:
        await joint.copy(Key("two/f"), Key("too/f"))
    assert caught.value.reason is Reason.CROSS_DEVICE


async def test_a_batch_is_split(joint, stores):
    one, two = stores
    for key in ("one/a", "one/b", "two/c", "two/d"):
        await joint.put(Key(key), b"", PLAIN)
    await joint.delete_many([Key("one/a"), Key("two/c"), Key("nowhere/e")])
    assert (await keys_of(one), await keys_of(two)) == (["b"], ["deep/d"])


async def test_outside_of_the_parts_there_is_nothing(joint):
    await joint.delete(Key("three/f"))
    for verb in (joint.head(Key("three/f")), joint.get(Key("f"), [memoryview(bytearray(1))])):
        with pytest.raises(StoreError) as caught:
            await verb
        assert caught.value.reason is Reason.NOT_FOUND
    for verb in (
        joint.put(Key("three/f"), b"", PLAIN),
        joint.create_multipart(Key("f"), PLAIN),
    ):
        with pytest.raises(StoreError) as caught:
            await verb
        assert caught.value.reason is Reason.NOT_PERMITTED
