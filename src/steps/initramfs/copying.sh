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

# Most modules have nothing of firmware in their files, and are not asked for it one by one.
modinfo() {
	if [ "$#" = 5 ] && [ "$1 $3 $4" = "-k -F firmware" ] && imgbuild_is_clean "$5"; then
		case "$5" in
		"/lib/modules/$2/kernel/"*.ko)
			imgbuild_may_have_firmware "$2" "$5" || return 0
			;;
		esac
	fi
	command modinfo "$@"
}

imgbuild_may_have_firmware() {
	local list line
	list="/run/imgbuild-firmware-$1"
	if [ ! -e "$list" ]; then
		# It ends with 1 where there is none at all, with more where it could not look.
		grep -rlaF firmware= "/lib/modules/$1/kernel" >"$list" || [ "$?" = 1 ] || echo all >"$list"
	fi
	[ -e "$list" ] || return 0
	while read -r line; do
		case "$line" in
		all | "$2") return 0 ;;
		esac
	done <"$list"
	return 1
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
