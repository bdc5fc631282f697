# A package that is installed anew has nothing of an earlier version that would have to be moved or removed: what
# follows would start several programs to find that out.
imgbuild_is_new() {
    [ -z "${DPKG_ROOT:-}" ] || return 1
    case ${DPKG_MAINTSCRIPT_NAME:-} in
        preinst | postinst) ;;
        *) return 1 ;;
    esac
    case ${1:-}:${2:-} in
        symlink_to_dir:*/) return 1 ;;
        rm_conffile:/?* | mv_conffile:/?* | symlink_to_dir:/?* | dir_to_symlink:/?*) ;;
        *) return 1 ;;
    esac
    if [ -e "${2%/}.dpkg-backup" ] || [ -h "${2%/}.dpkg-backup" ]; then
        return 1
    fi
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        shift
    done
    case ${2:-} in
        install | configure) [ -z "${3:-}" ] ;;
        *) return 1 ;;
    esac
}
if imgbuild_is_new "$@"; then
    exit 0
fi
