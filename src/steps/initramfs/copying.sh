# Whether a path is absolute and written without detours and without letters that a shell takes for others.
imgbuild_is_clean() {
	case "$1/" in
	*[!a-zA-Z0-9/_.,+:=@~-]* | *//* | */./* | */../*) return 1 ;;
	/*) return 0 ;;
	esac
	return 1
}

# Whether no part of a clean path is a link.
imgbuild_is_plain() {
	local part
	part="$1"
	while [ -n "$part" ]; do
		[ ! -L "$part" ] || return 1
		part="${part%/*}"
	done
}

# What the function of the package does for most files, asking the shell instead of five programs each; it does the rest.
copy_file() {
	local src target
	src="$2"
	target="${3:-$2}"
	if [ "${verbose:-}" = y ] || [ ! -f "$src" ] || [ -d "$DESTDIR/$target" ] ||
		! imgbuild_is_clean "$src" || ! imgbuild_is_clean "$target"; then
		imgbuild_copy_file "$@"
		return
	fi
	case "$src" in
	/bin/* | /lib* | /sbin/*)
		: "${imgbuild_bin:=$(readlink -f /bin)}"
		if [ "$imgbuild_bin" = /usr/bin ]; then src="/usr$src"; fi
		;;
	esac
	case "$target" in
	/bin/* | /lib* | /sbin/*) target="/usr$target" ;;
	esac
	if [ -e "$DESTDIR/$target" ]; then
		return 1
	fi
	if [ ! -f "$src" ] || ! imgbuild_is_plain "$src"; then
		imgbuild_copy_file "$@"
		return
	fi
	[ -d "$DESTDIR/${target%/*}" ] || mkdir -p "$DESTDIR/${target%/*}"
	cp -pP "$src" "$DESTDIR/$target" || return $(($? + 1))
}
