"""Record what the service does with conditional writes, learnt from real answers only.

Facts: Amazon honours If-Match and If-None-Match on PUT, Complete and CopyObject's target. radosgw 16
refuses the right ETag on PUT while it stands in quotes and accepts it without; its Complete
ignores both conditions. moto honours them on PUT and Complete. For copies see copies.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Capabilities:
    """Know one service. Owned by the trio loop; changes only as answers teach.

    Where a condition is not honoured a HEAD just before has to stand in, which leaves a short
    window. `quotes_etags` tells how If-Match is understood on writes; like
    `copy_honours_source_condition` it is None until known.
    """

    complete_honours_conditions: bool
    copy_honours_target_condition: bool
    part_copy_honours_condition: bool
    copy_honours_source_condition: bool | None
    put_honours_conditions: bool = True
    quotes_etags: bool | None = None

    @classmethod
    def presumed(cls, *, is_aws: bool) -> Capabilities:
        """Return what to presume before the first answer."""
        return cls(
            complete_honours_conditions=is_aws,
            copy_honours_target_condition=is_aws,
            part_copy_honours_condition=is_aws,
            copy_honours_source_condition=True if is_aws else None,
            quotes_etags=True if is_aws else None,
        )

    def write_conditions(self, *, if_match: str | None, if_none_match: bool) -> dict[str, str]:
        """Return the headers of a conditional PUT or Complete."""
        if not self.put_honours_conditions:
            return {}
        if if_none_match:
            return {"if-none-match": "*"}
        if if_match is None:
            return {}
        return {"if-match": if_match if self.quotes_etags is False else f'"{if_match}"'}
