"""What a finished or interrupted run proves, from what it left: read, computed anew, compared, and stated.

Nothing is taken on trust but the code: the plan is computed again from the configuration and the shards' index, and
the ledger, the records, the checkpoints and the shards must agree with it and with each other.
"""

from aedist.verify.run import Verified, verify_run

__all__ = ["Verified", "verify_run"]
