from s3rolefs.cache.listings import DIRECTORY, NOTHING, Listing
from s3rolefs.cache.metadata import MetadataCache
from s3rolefs.model import Key, ObjectInfo

SECOND_NS = 10**9
NOW_NS = 1_700_000_000 * SECOND_NS


def described(key, *, etag="e", modified_ns=NOW_NS, mode=None, asked_ns=NOW_NS + 60 * SECOND_NS):
    metadata = None if mode is None else {"mode": mode}
    return ObjectInfo(
        key=Key(key),
        size_bytes=1,
        etag=etag,
        last_modified_ns=modified_ns,
        metadata=metadata,
        asked_at_ns=asked_ns,
    )


def cached(clock, *, prefix="d/", objects=(), prefixes=()):
    """Return a cache with one complete listing."""
    cache = MetadataCache(clock, ttl_seconds=10)
    changes = cache.follow(prefix)
    listing = Listing(began_at_seconds=clock.boot_seconds())
    for info in objects:
        listing.objects[info.key.removeprefix(prefix)] = info
    for name in prefixes:
        listing.prefixes[name] = None
    cache.keep_listing(prefix, listing, changes)
    return cache


def test_a_listing_is_as_old_as_its_first_page(clock):
    cache = cached(clock)
    listing = Listing(began_at_seconds=clock.boot_seconds())
    changes = cache.follow("e/")
    clock.advance(9)
    cache.keep_listing("e/", listing, changes)
    assert cache.listing("e/") is listing
    clock.advance(1)
    assert cache.listing("e/") is None


def test_own_changes_are_entered_into_listings_at_once(clock):
    cache = cached(clock, objects=[described("d/a"), described("d/b")], prefixes=["c"])
    cache.changed("d/", "a", NOTHING)
    cache.changed("d/", "b/", DIRECTORY)
    cache.changed("d/", "c/", NOTHING)
    cache.changed("d/", "new", described("d/new", mode="1"))
    listing = cache.listing("d/")
    assert set(listing.objects) == {"b", "new"}
    assert set(listing.prefixes) == {"b"}
    assert listing.objects["new"].metadata is None


def test_own_changes_are_entered_into_listings_that_arrive_after_them(clock):
    cache = MetadataCache(clock, ttl_seconds=10)
    changes = cache.follow("d/")
    cache.changed("d/", "gone", NOTHING)
    cache.changed("d/", "new", described("d/new"))
    listing = Listing(began_at_seconds=clock.boot_seconds(), objects={"gone": described("d/gone")})
    cache.keep_listing("d/", listing, changes)
    assert set(cache.listing("d/").objects) == {"new"}


def test_a_record_of_own_changes_begins_when_it_is_asked_for(clock):
    cache = MetadataCache(clock, ttl_seconds=10)
    earlier = cache.follow("d/")
    cache.changed("d/", "a", NOTHING)
    later = cache.follow("d/")
    cache.changed("d/", "b/", DIRECTORY)
    cache.changed("e/", "c/", DIRECTORY)
    assert dict(earlier) == {"a": NOTHING, "b/": DIRECTORY}
    assert dict(later) == {"b/": DIRECTORY}
    assert later.get("a") is None
    del earlier, later
    assert not cache._logs


def test_what_is_in_a_new_directory_makes_the_directories_above_it_appear(clock):
    cache = cached(clock, prefix="", objects=[described("x")])
    cache.changed("a/b/", "f", described("a/b/f"))
    assert set(cache.listing("").prefixes) == {"a"}


def test_attributes_are_believed_for_the_very_version_a_listing_names(clock):
    cache = MetadataCache(clock, ttl_seconds=10)
    cache.remember(described("k", mode="1"), cache.changes)
    assert cache.full(described("k")).metadata == {"mode": "1"}
    assert cache.full(described("k", modified_ns=NOW_NS + 5)) is not None  # listings may count whole seconds
    assert cache.full(described("k", etag="other")) is None
    assert cache.full(described("k", modified_ns=NOW_NS + SECOND_NS)) is None
    assert cache.full(described("other")) is None


def test_attributes_asked_for_right_after_a_change_are_believed_only_for_the_ttl(clock):
    cache = MetadataCache(clock, ttl_seconds=10)
    cache.remember(described("racy", mode="1", asked_ns=NOW_NS + SECOND_NS), cache.changes)
    cache.remember(described("settled", mode="1", asked_ns=NOW_NS + 2 * SECOND_NS), cache.changes)
    clock.advance(9)
    assert cache.full(described("racy")) is not None
    clock.advance(1)
    assert cache.full(described("racy")) is None
    assert cache.full(described("settled")) is not None


def test_an_answer_asked_for_before_an_own_change_does_not_undo_it(clock):
    cache = MetadataCache(clock, ttl_seconds=10)
    asked_after = cache.changes
    cache.changed("", "k", described("k", mode="new"))
    cache.remember(described("k", mode="old"), asked_after)
    assert cache.full(described("k")).metadata == {"mode": "new"}
    cache.remember(described("k", mode="newer"), cache.changes)
    assert cache.full(described("k")).metadata == {"mode": "newer"}


def test_what_is_doubted_is_asked_for_again(clock):
    cache = cached(clock, objects=[described("d/a")])
    cache.remember(described("d/a", mode="1"), cache.changes)
    cache.doubt("d/", "a")
    assert cache.listing("d/") is None
    assert cache.full(described("d/a")) is None


def test_listings_below_a_moved_directory_are_forgotten(clock):
    cache = cached(clock)
    for prefix in ("d/e/", "dd/"):
        cache.keep_listing(prefix, Listing(began_at_seconds=clock.boot_seconds()), cache.follow(prefix))
    cache.forget_below("d/")
    assert cache.listing("d/") is cache.listing("d/e/") is None
    assert cache.listing("dd/") is not None


def test_a_walk_widens_while_it_goes_on_and_asks_for_each_object_once():
    names = [f"{number:03}" for number in range(200)]
    listing = Listing(began_at_seconds=0, objects={name: described(name) for name in names})
    asked = [info.key for name in names for info in listing.follow(name, largest=64)]
    assert len(asked) == len(set(asked))
    assert set(names[10:]) <= set(asked)
    assert listing.follow("nowhere", largest=64) == []


def test_a_jump_is_no_walk():
    names = [f"{number:03}" for number in range(200)]
    listing = Listing(began_at_seconds=0, objects={name: described(name) for name in names})
    asked = [listing.follow(name, largest=64) for name in names[::-20]]
    assert sum(map(len, asked)) == 0
