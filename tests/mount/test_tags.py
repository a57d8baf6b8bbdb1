"""Tags survive on a real service, also on one that forgets them with copies and uploads in parts."""

import os

MIB = 1 << 20
TAGS = {"team": "a b", "kept": ""}


def test_tags_survive_edits_changes_and_moves(place, radosgw_s3, bucket):
    def tags(key):
        found = radosgw_s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in found}

    for name in ("edited", "changed", "large"):
        radosgw_s3.put_object(Bucket=bucket, Key=f"d/{name}", Body=b"x", Tagging="team=a%20b&kept=")
    with place.mounted(f"s3://{bucket}") as mounted:
        folder = mounted.path / "d"
        (folder / "edited").write_bytes(b"new")
        (folder / "changed").chmod(0o600)
        os.utime(folder / "changed", ns=(1, 1))
        (folder / "large").write_bytes(bytes(17 * MIB))
        assert [tags(f"d/{name}") for name in ("edited", "changed", "large")] == [TAGS] * 3
        with (folder / "large").open("ab") as handle:
            handle.write(b"end")
        (folder / "edited").rename(folder / "renamed")
        folder.rename(mounted.path / "e")
        assert [tags(f"e/{name}") for name in ("renamed", "changed", "large")] == [TAGS] * 3
        assert (mounted.path / "e/large").stat().st_size == 17 * MIB + 3
        assert (mounted.path / "e/renamed").read_bytes() == b"new"
