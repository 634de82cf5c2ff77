//! How a table of metrics is written: a line each with its field, its kind, its name for Prometheus
//! and what it says. The name's `anonymizer_` is put before it, and a counter's `_total` behind it.

/// Makes a struct of metrics and has it registered.
macro_rules! metrics {
    (
        $(#[$doc:meta])*
        pub struct $table:ident {
            $($field:ident: $kind:ty $(= $init:expr)?, $name:literal, $help:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $table {
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Default for $table {
            fn default() -> Self {
                Self { $($field: metrics!(@init $($init)?),)* }
            }
        }

        impl $table {
            pub(super) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
                $(registry.register($name, $help, self.$field.clone());)*
            }
        }
    };
    (@init $init:expr) => { $init };
    (@init) => { Default::default() };
}

pub(super) use metrics;
