export GREETING=${GREETING:-"a machine of $IMAGE_NAME"}
