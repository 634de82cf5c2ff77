//! What each part is told, from the settings.

use crate::clickhouse::{Sink, SinkOptions, TlsFiles};
use crate::flush::FlushOptions;
use crate::kafka::ConsumerOptions;
use crate::ownership::StartAt;
use crate::privacy::Policy;
use crate::runtime::stats::{Limits, limit, limit_time};
use crate::settings::{Config, KafkaStart};
use crate::store::bounds::Bounds;

impl Config {
    /// How Kafka is read.
    pub fn consumer_options<'a>(&'a self, installation: &'a str) -> ConsumerOptions<'a> {
        ConsumerOptions {
            brokers: &self.kafka_brokers,
            topic: &self.kafka_topic,
            group: &self.kafka_group,
            installation,
            properties: &self.kafka_properties,
            password_file: self.kafka_password_file.as_deref(),
            tokens: self.tokens(),
        }
    }

    /// Where reading begins.
    pub fn start_at(&self) -> StartAt {
        match self.kafka_start {
            KafkaStart::Earliest => StartAt::Earliest,
            KafkaStart::Latest => StartAt::Latest,
            KafkaStart::Stop => StartAt::Stop,
        }
    }

    /// What is taken away of a record before it becomes a row.
    pub fn policy(&self) -> Policy {
        Policy {
            ipv4_bits: self.mask_ipv4_bits,
            ipv6_bits: self.mask_ipv6_bits,
            url_query: self.mask_url_query,
            url_parameters: self.mask_url_parameters.clone(),
            url_addresses: self.mask_url_addresses,
        }
    }

    /// What the queue may take of the disk.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            max_queue_bytes: self.max_queue_bytes,
            min_free_disk: self.min_free_disk,
            max_quarantine_bytes: self.max_quarantine_bytes,
            quarantine_full: self.quarantine_full,
        }
    }

    /// The way to ClickHouse. A password that is refused is read again.
    ///
    /// # Errors
    /// If the password file cannot be read, or a setting cannot be used.
    pub fn sink(&self) -> anyhow::Result<Sink> {
        let sink = Sink::new(&SinkOptions {
            url: self.clickhouse_url.clone(),
            database: self.clickhouse_database.clone(),
            table: self.clickhouse_table.clone(),
            user: self.clickhouse_user.clone(),
            password: self.clickhouse_password()?,
            tls: TlsFiles {
                ca: self.clickhouse_ca_file.clone(),
                certificate: self.clickhouse_certificate_file.clone(),
                key: self.clickhouse_key_file.clone(),
            },
            request_timeout: self.request_timeout,
        })?;
        if self.clickhouse_password_file.is_none() {
            return Ok(sink);
        }
        let config = self.clone();
        Ok(sink.rereading(Box::new(move || {
            config.clickhouse_password().map_err(|e| e.to_string())
        })))
    }

    /// Shows what bounds something, for metrics. Bounds of the disk are the status's: it may grow.
    pub fn show_limits(&self, limits: &Limits) {
        limit(&limits.max_body_bytes, self.max_body_bytes);
        limit(&limits.max_batch_rows, self.max_batch_rows);
        limit_time(&limits.flush_interval, self.flush_interval);
        limit_time(&limits.request_timeout, self.request_timeout);
        limit_time(&limits.sync_interval, self.sync_interval);
        limit_time(&limits.freshness_target, self.freshness_target);
    }

    /// What the flusher does.
    pub fn flush_options(&self) -> FlushOptions {
        FlushOptions {
            packed_format: self.packed_format,
            interval: self.flush_interval,
            max_rows: self.max_batch_rows,
            max_body_bytes: self.max_body_bytes,
            url: self.clickhouse_url.clone(),
            database: self.clickhouse_database.clone(),
            table: self.clickhouse_table.clone(),
            create_tables: !self.no_create_tables,
            allow_duplicates: self.allow_duplicates.clone(),
            request_timeout: self.request_timeout,
            keep_delivered: self.keep_delivered,
        }
    }
}
