# What the hooks of this definition share.
log() { echo "$INSTANCE_NAME: $*" >&2; }
