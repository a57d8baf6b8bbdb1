"""What mount(8), fstab, systemd and signals see: helper, launch, readiness, control socket."""
