command -v systemd-tmpfiles >/dev/null && systemd-tmpfiles --create weir.conf
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -eq 1 ]; then
        systemctl --no-reload preset weir.service || :
        if systemctl --quiet is-enabled weir.service; then
            systemctl start weir.service || :
        fi
    elif systemctl --quiet is-active weir.service; then
        # Without a gap where that is possible. Otherwise connections are direct for a moment.
        weir upgrade || systemctl try-restart weir.service || :
    fi
elif [ "$1" -eq 1 ] && command -v systemctl >/dev/null; then
    systemctl --no-reload preset weir.service || :
fi
exit 0
