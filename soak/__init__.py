"""Let one mount live through real hours; nothing is scaled and no clock is driven."""
