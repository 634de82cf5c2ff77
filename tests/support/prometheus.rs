//! A real Prometheus, with rules of its own and some programs to look at.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::stack::free_port;
use super::wait::{MOMENT, until};

/// Asks five times a second. Killed when dropped.
pub struct Prometheus {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

/// The rules of `ops/prometheus/alerts.yml`, but each fires at once, and looks back second by second.
pub fn impatient_rules() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/prometheus/alerts.yml");
    let rules = fs::read_to_string(path).unwrap();
    let at_once = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 0s\n"),
        _ => format!("{line}\n"),
    };
    let rules: String = rules.lines().map(at_once).collect();
    rules.replace(":1m]", ":1s]")
}

/// A program of Debian's package, as `ops/test` fetches it.
fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = env::var_os("TOOLS_DIR").map_or(PathBuf::new(), PathBuf::from);
    // A copy that ops/mutate made is below the repository.
    let below = root.ancestors().map(|dir| dir.join(".stack/tools"));
    let fetched = [tools].into_iter().chain(below);
    let fetched = fetched.map(|tools| tools.join("bin").join(name));
    let found = fetched.into_iter().find(|program| program.exists());
    found.unwrap_or(name.into())
}

impl Prometheus {
    /// With these rules, on the metrics ports of some instances.
    pub fn start(rules: &str, instances: &[&str]) -> Prometheus {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("rules.yml"), rules).unwrap();
        let targets = instances.join("', '");
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: anonymizer\n    static_configs: [{{ targets: ['{targets}'] }}]\n"
        );
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let log = File::create(dir.path().join("log")).unwrap();
        let started = Command::new(tool("prometheus"))
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = started.expect("Debian's package prometheus, as ops/test fetches it");
        let prometheus = Prometheus {
            child,
            url: format!("http://{address}/api/v1"),
            dir,
        };
        prometheus.wait("it answers", |p| p.try_get("/status/buildinfo", &[]).ok());
        prometheus
    }

    /// The `data` of an answer.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        self.try_get(path, query)
            .unwrap_or_else(|e| panic!("{path} {query:?}: {e}"))
    }

    fn try_get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let mut request = ureq::get(format!("{}{path}", self.url))
            .config()
            .http_status_as_error(false)
            .build();
        for (name, value) in query {
            request = request.query(name, value);
        }
        let mut answer = request.call().map_err(|e| e.to_string())?;
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|e| e.to_string())?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|_| text)?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => Err(answer["error"].to_string()),
        }
    }

    /// What an expression gives now: labels and value each.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.get("/query", &[("query", expression)]);
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// Names of all series that it has.
    pub fn names(&self) -> Vec<String> {
        let names = self.get("/label/__name__/values", &[]);
        serde_json::from_value(names).unwrap()
    }

    /// The alerts' rules as it understood them.
    pub fn rules(&self) -> Vec<Value> {
        let data = self.get("/rules", &[]);
        let groups = data["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|g| g["rules"].as_array().unwrap());
        rules.cloned().collect()
    }

    /// Names of the alerts that fire.
    pub fn firing(&self) -> Vec<String> {
        let data = self.get("/alerts", &[]);
        let alerts = data["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|a| a["state"] == "firing");
        firing
            .map(|a| a["labels"]["alertname"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until an alert fires.
    pub fn wait_firing(&self, alert: &str) {
        self.wait(&format!("{alert} fires"), |p| {
            p.firing().iter().any(|a| a == alert).then_some(())
        });
    }

    /// Waits until it has looked at every instance some times.
    pub fn wait_scraped(&self) {
        self.wait("instances are scraped", |p| {
            let times = p.query("min(count_over_time(up[1m])) >= 5 and min(up) == 1");
            (!times.is_empty()).then_some(())
        });
    }

    /// Waits for what `look` finds.
    pub fn wait<T>(&self, what: &str, look: impl Fn(&Prometheus) -> Option<T>) -> T {
        let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        until(
            MOMENT,
            || look(self),
            || format!("not so: {what}; {}", log()),
        )
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `promtool check metrics` finds wrong with metrics in the older text format.
pub fn lint(metrics: &str) -> Result<(), String> {
    let mut child = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's package prometheus, as ops/test fetches it");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(metrics.as_bytes()).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    match out.status.success() && out.stderr.is_empty() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}
