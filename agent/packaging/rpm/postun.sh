[ -d /run/systemd/system ] && systemctl daemon-reload
# Packages of this kind have no purge: what was counted stays until somebody removes it.
if [ "$1" -eq 0 ] && [ -d /var/lib/weir ]; then
    echo "weir: kept /var/lib/weir and /etc/weir; rm -r them once they are not needed" >&2
fi
exit 0
