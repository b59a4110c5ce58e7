# shellcheck shell=bash disable=SC2034
# What differs from site to site: the one file here to edit.
#
# It is read twice. On the login node, once per login, for the lines that sbatch obeys:
#
#   source slurm/site.sh
#
# and by every job on its first node, for the rest. Options given to sbatch itself win over what stands here.

# ---- what sbatch asks the site for (a line each, as in --account=NAME) ----------------------------------------------
# export SBATCH_ACCOUNT=NAME
# export SBATCH_PARTITION=NAME
# export SBATCH_QOS=NAME
# export SBATCH_CONSTRAINT=a100
# export SBATCH_GPUS_PER_NODE=4        # the templates say 8
# export SBATCH_TIMELIMIT=12:00:00     # train.sbatch says 4 hours
# srun and salloc outside of a job have names of their own for these: SLURM_ACCOUNT, SALLOC_ACCOUNT, SLURM_PARTITION, ...

# ---- how Python starts on a node ------------------------------------------------------------------------------------
# module purge; module load cuda
environment=${AEDIST_ENVIRONMENT:-.venv} # the Python environment, on a disk that every node sees
inside=()                                # words before every command, such as: apptainer exec --nv /shared/aedist.sif
srun_options=()                          # more words for srun, such as: --container-image=/shared/aedist.sqsh
# With a container, python is the one in it:
# python=python3

# ---- where things lie -----------------------------------------------------------------------------------------------
# export XDG_CACHE_HOME=/shared/$USER/cache   # what 'aedist fetch' got; every node must see it (else ~/.cache)
shard_cache=${AEDIST_SHARD_CACHE:-}           # the node's own disk for shards from an address, such as /local/$USER

# ---- how nodes talk -------------------------------------------------------------------------------------------------
# Where the default route is the wrong network, name the right interface (see 'ip -brief address' on a compute node).
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
# export NCCL_IB_HCA=mlx5
# When NCCL hangs, a run ends itself after train.stall_minutes (20) and names the process; NCCL's own watchdog comes
# later, and writes what each rank was at.
export TORCH_NCCL_ASYNC_ERROR_HANDLING=1 TORCH_NCCL_DUMP_ON_TIMEOUT=1 TORCH_FR_BUFFER_SIZE=2000
export TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC=3600
# Compute nodes without internet ask nobody for it.
# export WANDB_MODE=offline HF_HUB_OFFLINE=1

# ---- how often a job may ask for more time --------------------------------------------------------------------------
max_restarts=${AEDIST_MAX_RESTARTS:-100}
