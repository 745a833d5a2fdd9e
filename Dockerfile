# The program and nothing else: no shell, no package manager, not root.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --package selvedge && cp target/dist/selvedge /selvedge && mkdir /state

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="selvedge" \
      org.opencontainers.image.description="Learns every edge of a service mesh and notices when one unravels" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /selvedge /usr/local/bin/selvedge
# The journal and what was learned: a volume of that name outlives the container.
COPY --from=build --chown=nonroot:nonroot /state /var/lib/selvedge
ENV STATE_DIRECTORY=/var/lib/selvedge
VOLUME /var/lib/selvedge
EXPOSE 4317 4318 4319 4320
ENTRYPOINT ["/usr/local/bin/selvedge"]
CMD ["run", "--config", "/etc/selvedge/config.yaml"]
