# The binaries are made before (`make image`), so that this needs no compiler, no network and no
# emulator, and the image is the same file that was tested.
FROM scratch
ARG TARGETARCH

# The binary carries its own TLS roots: there is no /etc/ssl here.
COPY dist/linux-${TARGETARCH}/entrepot /entrepot

# An empty directory, there to have an owner: a new volume takes it over from here.
COPY --chown=65532:65532 dist/empty/ /var/lib/entrepot/
VOLUME /var/lib/entrepot

# Inside a container the doors have to listen beyond loopback; who may come in by them is decided by
# --allow-client and by the ports that are published. The admin door answers other machines with probes
# and metrics only, unless --admin-htpasswd gives it passwords.
ENV ENTREPOT_DATA_DIR=/var/lib/entrepot \
    ENTREPOT_PROXY_LISTEN=0.0.0.0:3128 \
    ENTREPOT_MIRROR_LISTEN=0.0.0.0:5000 \
    ENTREPOT_ADMIN_LISTEN=0.0.0.0:5001
EXPOSE 3128 5000 5001

USER 65532:65532
ENTRYPOINT ["/entrepot"]
CMD ["serve"]
