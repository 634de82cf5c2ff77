#!/bin/bash
# The commands of Kafka's bin folder that docker-compose.yml and the tests call, by their names.
case ${0##*/} in
kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
kafka-get-offsets.sh) class=org.apache.kafka.tools.GetOffsetShell ;;
kafka-broker-api-versions.sh) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
kafka-consumer-groups.sh) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
*) echo "no such command here: $0" >&2; exit 1 ;;
esac
exec java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dlog4j2.configurationFile=/etc/kafka/docker/tools-log4j2.yaml -cp '/opt/kafka/libs/*' "$class" "$@"
