"""The verb that gives a trained model away."""

import argparse
from pathlib import Path
from typing import Any

from aedist.cli.terminal import at_work
from aedist.errors import UserError


def add_verbs(verbs: Any) -> None:
    """The verb push."""
    push = verbs.add_parser("push", help="put a run's model on the Hugging Face hub")
    push.add_argument("folder", type=Path, metavar="RUN", help="the run's directory, or a model/ folder")
    push.add_argument("repository", metavar="OWNER/NAME", help="where on the hub; made if it is not there")
    push.add_argument("--private", action="store_true", help="hide from others what is made")
    push.set_defaults(run=_push)


def _push(arguments: argparse.Namespace) -> None:
    with at_work(f"pushing {arguments.folder} to {arguments.repository}"):
        from huggingface_hub import get_token

        from aedist.models import count_parameters
        from aedist.pretrained import push_to_hub

        token = get_token()
        if token is None:
            raise UserError(
                f"{arguments.repository}: nobody is logged in to the hub; run 'hf auth login', or set HF_TOKEN"
            )
        pushed = push_to_hub(arguments.folder, arguments.repository, private=arguments.private or None, token=token)
    print(
        f"{arguments.repository}: pushed {pushed.record['kind']} with {count_parameters(pushed.model):,} parameters, "
        f"step {pushed.record.get('step', 'unknown')}; "
        f'load it with aedist.load("{arguments.repository}")'
    )
