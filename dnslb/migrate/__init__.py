"""What other servers' configuration says, as files of ours and a report of all that has no equivalent."""
