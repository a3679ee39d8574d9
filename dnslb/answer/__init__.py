"""From a packet to a reply: what zones and pools say, packed and kept ready."""
