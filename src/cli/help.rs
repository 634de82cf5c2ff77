//! What the help of each command has besides its own flags: the settings that it uses, and an example.

use crate::cli::exit::Exit;
use crate::runtime::wrap::{COLUMNS, wrap};
use crate::settings;

/// The flags of `help`.
#[derive(Debug, Clone, clap::Args)]
pub struct HelpArgs {
    /// A command; or `settings`, or `exit-codes`
    #[arg(value_name = "COMMAND")]
    pub words: Vec<String>,
}

/// What is added to the help of one command.
struct Page {
    /// Its words, joined by spaces.
    command: &'static str,
    uses: &'static [&'static [&'static str]],
    example: &'static str,
}

const DATA_DIR: &[&str] = &["data_dir"];
const KAFKA: &[&str] = &[
    "kafka_brokers",
    "kafka_topic",
    "kafka_password_file",
    "kafka_client_secret_file",
    "kafka_token_file",
    "kafka_properties",
];
/// What a request through the proxy needs.
const CLICKHOUSE: &[&str] = &[
    "clickhouse_url",
    "clickhouse_database",
    "clickhouse_table",
    "clickhouse_user",
    "clickhouse_password_file",
    "clickhouse_ca_file",
    "clickhouse_certificate_file",
    "clickhouse_key_file",
    "flush_interval",
    "request_timeout",
];
/// What the outlook of a queue depends on.
const OUTLOOK: &[&str] = &[
    "flush_interval",
    "max_body_bytes",
    "max_batch_rows",
    "max_queue_bytes",
    "min_free_disk",
    "max_quarantine_bytes",
    "quarantine_full",
];
/// What an insert needs besides.
const INSERTS: &[&str] = &[
    "max_body_bytes",
    "max_batch_rows",
    "packed_format",
    "keep_delivered",
    "no_create_tables",
    "allow_duplicates",
];
/// Stands for all settings.
const ALL: &[&str] = &[];

static PAGES: &[Page] = &[
    Page {
        command: "",
        uses: &[],
        example: "\
anonymizer check --kafka-brokers kafka-1:9092 --data-dir /var/lib/anonymizer
anonymizer run --config /etc/anonymizer.json
anonymizer status --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "run",
        uses: &[ALL],
        example: "\
anonymizer run --kafka-brokers kafka-1:9092 --data-dir /var/lib/anonymizer \\
    --clickhouse-url http://ch-proxy:8124",
    },
    Page {
        command: "check",
        uses: &[ALL],
        example: "anonymizer check --config /etc/anonymizer.json",
    },
    Page {
        command: "status",
        uses: &[DATA_DIR, KAFKA, &["kafka_group"], OUTLOOK],
        example: "\
anonymizer status --data-dir /var/lib/anonymizer
anonymizer status --data-dir /var/lib/anonymizer --watch",
    },
    Page {
        command: "top",
        uses: &[DATA_DIR, &["kafka_topic"], OUTLOOK],
        example: "anonymizer top --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "tap",
        uses: &[DATA_DIR],
        example: "\
anonymizer tap --data-dir /var/lib/anonymizer
anonymizer tap --data-dir /var/lib/anonymizer --status 5xx --limit 10",
    },
    Page {
        command: "capacity",
        uses: &[DATA_DIR, &["max_queue_bytes"], CLICKHOUSE],
        example: "anonymizer capacity --rate 1000 --retention 30d --totals-retention 2y",
    },
    Page {
        command: "verify",
        uses: &[DATA_DIR],
        example: "anonymizer verify --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "export",
        uses: &[DATA_DIR],
        example: "\
anonymizer export --data-dir /var/lib/anonymizer --format csv | head
anonymizer export --data-dir /var/lib/anonymizer --format rowbinary \\
    --output /backup/queue.rows",
    },
    Page {
        command: "batches",
        uses: &[],
        example: "anonymizer batches list --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "batches list",
        uses: &[DATA_DIR],
        example: "anonymizer batches list --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "batches show",
        uses: &[DATA_DIR],
        example: "anonymizer batches show 17 --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "batches retry",
        uses: &[DATA_DIR],
        example: "anonymizer batches retry 17 --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "batches stored",
        uses: &[DATA_DIR],
        example: "anonymizer batches stored 17 --yes --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "batches drop",
        uses: &[DATA_DIR],
        example: "anonymizer batches drop 17 --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "batches export",
        uses: &[DATA_DIR],
        example: "\
anonymizer batches export 17 --data-dir /var/lib/anonymizer \\
    --format json-each-row --output batch-17.jsonl",
    },
    Page {
        command: "held",
        uses: &[],
        example: "anonymizer held list --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "held list",
        uses: &[DATA_DIR],
        example: "anonymizer held list --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "held export",
        uses: &[DATA_DIR],
        example: "anonymizer held export 3 --data-dir /var/lib/anonymizer >rows.jsonl",
    },
    Page {
        command: "held send",
        uses: &[DATA_DIR],
        example: "anonymizer held send 3 --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "held drop",
        uses: &[DATA_DIR],
        example: "anonymizer held drop 3 --yes --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "reconcile",
        uses: &[DATA_DIR, CLICKHOUSE, &["keep_counts"]],
        example: "\
anonymizer reconcile --data-dir /var/lib/anonymizer/a /var/lib/anonymizer/b \\
    counts-of-c.json --from 24h",
    },
    Page {
        command: "replay",
        uses: &[DATA_DIR, CLICKHOUSE, INSERTS],
        example: "\
anonymizer replay --data-dir /mnt/rescued \\
    --clickhouse-url http://ch-proxy:8124
anonymizer replay --data-dir /var/lib/anonymizer --delivered --since 2h",
    },
    Page {
        command: "repair",
        uses: &[DATA_DIR],
        example: "anonymizer repair --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "adopt",
        uses: &[DATA_DIR],
        example: "anonymizer adopt --data-dir /mnt/restored",
    },
    Page {
        command: "quarantine",
        uses: &[],
        example: "anonymizer quarantine list --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "quarantine list",
        uses: &[DATA_DIR],
        example: "anonymizer quarantine list --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "quarantine show",
        uses: &[DATA_DIR],
        example: "anonymizer quarantine show 3 1048576 --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "quarantine export",
        uses: &[DATA_DIR],
        example: "anonymizer quarantine export ./messages --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "quarantine retry",
        uses: &[DATA_DIR],
        example: "anonymizer quarantine retry --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "quarantine drop",
        uses: &[DATA_DIR],
        example: "anonymizer quarantine drop 3 1048576 --yes --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "privacy",
        uses: &[],
        example: "anonymizer privacy audit --data-dir /var/lib/anonymizer",
    },
    Page {
        command: "privacy audit",
        uses: &[
            DATA_DIR,
            KAFKA,
            &["http_listen", "http_certificate_file", "http_user"],
        ],
        example: "\
anonymizer privacy audit --data-dir /var/lib/anonymizer \\
    --also /var/log/journal",
    },
    Page {
        command: "schema",
        uses: &[],
        example: "anonymizer schema print --retention 30d",
    },
    Page {
        command: "schema print",
        uses: &[&["clickhouse_database", "clickhouse_table"]],
        example: "anonymizer schema print | clickhouse-client --host ch --multiquery",
    },
    Page {
        command: "produce",
        uses: &[KAFKA],
        example: "\
anonymizer produce --kafka-brokers kafka-1:9092 --count 100000 --rate 1000",
    },
    Page {
        command: "config",
        uses: &[],
        example: "anonymizer config print --config /etc/anonymizer.json",
    },
    Page {
        command: "config print",
        uses: &[ALL],
        example: "anonymizer config print --config /etc/anonymizer.json",
    },
    Page {
        command: "config schema",
        uses: &[],
        example: "anonymizer config schema >anonymizer.schema.json",
    },
    Page {
        command: "config example",
        uses: &[],
        example: "anonymizer config example >anonymizer.json",
    },
    Page {
        command: "completions",
        uses: &[],
        example: "\
anonymizer completions bash >/etc/bash_completion.d/anonymizer
anonymizer completions zsh >\"${fpath[1]}/_anonymizer\"",
    },
    Page {
        command: "man",
        uses: &[],
        example: "\
anonymizer man | man -l -
anonymizer man --dir /usr/local/share/man/man1",
    },
    Page {
        command: "help",
        uses: &[],
        example: "\
anonymizer help batches export
anonymizer help settings
anonymizer help exit-codes",
    },
];

fn page(path: &[&str]) -> Option<&'static Page> {
    let command = path.join(" ");
    PAGES.iter().find(|page| page.command == command)
}

/// The example of a command, in lines; the command's words are those behind `anonymizer`.
#[must_use]
pub fn example(path: &[&str]) -> Option<&'static str> {
    page(path).map(|page| page.example)
}

/// Gives each command of the line its page, and all the width of a help that fits everywhere.
#[must_use]
pub fn dress(line: clap::Command) -> clap::Command {
    dress_below(
        line.max_term_width(COLUMNS).disable_help_subcommand(true),
        &[],
    )
}

fn dress_below(mut command: clap::Command, path: &[&str]) -> clap::Command {
    if let Some(page) = page(path) {
        let mut used: Vec<&str> = page.uses.concat();
        if page.uses.iter().any(|group| group.is_empty()) {
            used = settings::names().collect();
        }
        if !used.is_empty() {
            command = settings::show(command, &used);
        }
        command = command.after_help(below(page));
    }
    command.mut_subcommands(|sub| {
        let name = sub.get_name().to_owned();
        dress_below(sub, &[path, &[&name]].concat())
    })
}

/// What stands below the flags.
fn below(page: &Page) -> String {
    let plural = if page
        .example
        .lines()
        .filter(|l| l.starts_with("anonymizer"))
        .count()
        > 1
    {
        "s"
    } else {
        ""
    };
    let mut text = format!("Example{plural}:\n");
    for line in page.example.lines() {
        text += &format!("  {line}\n");
    }
    text += "\n`anonymizer help settings` lists all settings, which every command takes.";
    if page.command.is_empty() {
        text += "\n`anonymizer help exit-codes`: 0 good, 1 could not do it, 2 usage, 3 found \
                 something bad.";
    }
    text
}

/// Prints the help of what was named; `line` is the whole command line.
///
/// # Errors
/// None: what is no command ends the process, as it would without `help`.
pub fn run(args: &HelpArgs, line: clap::Command) -> anyhow::Result<()> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match *words {
        ["settings"] => {
            let page = settings::reference().max_term_width(COLUMNS);
            say_as_it_is!("{}", { page }.render_long_help());
        }
        ["exit-codes"] => say_as_it_is!("{}", exit_codes()),
        _ => {
            let asked = [&["anonymizer"], &*words, &["--help"]].concat();
            if let Err(shown) = line.try_get_matches_from(asked) {
                shown.exit();
            }
        }
    }
    Ok(())
}

fn exit_codes() -> String {
    let mut text = String::new();
    for exit in Exit::ALL {
        for (n, line) in wrap(exit.words(), COLUMNS - 5).into_iter().enumerate() {
            match n {
                0 => text += &format!("{:>3}  {line}\n", exit.code()),
                _ => text += &format!("     {line}\n"),
            }
        }
    }
    text
}
