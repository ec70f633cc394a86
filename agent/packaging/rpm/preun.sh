if [ "$1" -eq 0 ]; then
    # First: nobody is shown a certificate any more when trust in it is undone.
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now weir.service || :
    elif command -v systemctl >/dev/null; then
        systemctl --no-reload disable weir.service || :
    fi
    # A guard left by an agent that was killed would refuse connections for ever.
    weir --config /dev/null down >/dev/null 2>&1 || :
    # With no configuration: a faulty one must not keep the CA in place.
    if [ -e /var/lib/weir/trust-ledger.json ]; then
        weir --config /dev/null trust uninstall || \
            echo "weir: this host may still trust Weir's CA; see above." >&2
    fi
fi
exit 0
