"""What happens after release: drift, streaming alarms, bursts, canaries, incidents."""
