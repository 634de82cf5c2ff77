//! Which authorities a broker's certificate is checked by when none is named: the system's. An OpenSSL that is built
//! in does not know where those are, and would trust nobody.

use rdkafka::config::ClientConfig;

/// With the file or folder of the system's authorities, if OpenSSL is built in and nobody named others.
#[must_use]
pub fn with_the_systems(config: ClientConfig) -> ClientConfig {
    #[cfg(feature = "static")]
    {
        built_in(config)
    }
    #[cfg(not(feature = "static"))]
    config
}

#[cfg(feature = "static")]
fn built_in(mut config: ClientConfig) -> ClientConfig {
    let protocol = config.get("security.protocol").unwrap_or_default();
    let is_secure = protocol.to_ascii_lowercase().contains("ssl");
    let is_named = ["ssl.ca.location", "ssl.ca.pem"]
        .iter()
        .any(|name| config.get(name).is_some());
    // OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR by itself.
    if is_secure && !is_named && !openssl_probe::has_ssl_cert_env_vars() {
        let found = openssl_probe::probe();
        let found = found.cert_file.or(found.cert_dir.into_iter().next());
        if let Some(path) = found {
            config.set("ssl.ca.location", path.display().to_string());
        }
    }
    config
}
