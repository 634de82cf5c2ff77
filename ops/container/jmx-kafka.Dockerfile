# Reads the broker's JMX and serves it to Prometheus on 5556.
# Our own image, because Prometheus publishes none for its JMX exporter and bitnami's is frozen. It
# is the exporter's standalone server, so the broker runs as it comes. 1.0.1 is its newest version in
# Maven Central, whose files never change; the digest is checked below.

FROM maven:3.9.16-eclipse-temurin-21-alpine AS jar
RUN mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
      -Dartifact=io.prometheus.jmx:jmx_prometheus_httpserver:1.0.1 -DoutputDirectory=/jar \
 && cd /jar && mv jmx_prometheus_httpserver-1.0.1.jar jmx-exporter.jar \
 && echo "a493eb637f9eb827dc3bee2a8cb0dc6bf2b291ace896d4ebfe98b055e394ab1b  jmx-exporter.jar" | sha256sum -c

FROM eclipse-temurin:21.0.12_8-jre-alpine-3.24
COPY --from=jar /jar/jmx-exporter.jar /opt/jmx-exporter.jar
USER 10001:10001
EXPOSE 5556
ENTRYPOINT ["java", "-Xmx64m", "-jar", "/opt/jmx-exporter.jar", "5556"]
# The folder is empty in the image: docker-compose.yml mounts ops/prometheus/jmx-kafka.yml there.
CMD ["/etc/jmx-exporter.yml"]
