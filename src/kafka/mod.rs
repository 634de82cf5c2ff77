//! Polls Kafka, and asks its coordinator. Beside it only the settings (which properties librdkafka takes),
//! `check` and `produce` know rdkafka.
//!
//! Rebalances come out of [`Consumer::poll`] as events, like messages. librdkafka waits until
//! [`Consumer::assign`] or [`Consumer::unassign`] answers, so the whole of a rebalance is plain
//! code in the ingest loop and no work is done inside a callback.

mod asked;
mod authorities;
mod context;
mod event;
pub mod fault;
mod fetched;
mod ffi;
pub mod group;
mod handshake;
pub mod oauth;
mod options;
mod probe;
mod recipe;
pub mod trial;
mod watch;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::ownership::Start;
pub use authorities::with_the_systems;
pub use context::Context;
pub use event::Event;
use fault::Fault;
pub use fetched::{Fetch, Fetched, Taken};
pub use options::ConsumerOptions;
use probe::Probe;
use recipe::{Print, Recipe};
pub use watch::{Seen, Watch};

/// How long a question to the coordinator or a leader may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a leader may take to tell where a log ends, which is only shown.
const ENDS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client with renewed files may take to get in.
const TRY_OUT: Duration = Duration::from_secs(5);
const TELL_FAULTS: Duration = Duration::from_millis(200);

/// Makes a client, which has not joined yet. A test lets it fail.
type Make = fn(&ClientConfig, Context) -> Result<BaseConsumer<Context>, KafkaError>;

/// A client to come, see [`Consumer::another`].
pub struct Another {
    client: Arc<BaseConsumer<Context>>,
    print: Option<Print>,
}

/// A member of the consumer group. Shared by the thread that polls and the one that commits.
pub struct Consumer {
    /// Replaced by [`Consumer::renew`] alone, which waits until nobody uses it.
    client: RwLock<Arc<BaseConsumer<Context>>>,
    recipe: Recipe,
    /// What the files held of which that client was made.
    print: Mutex<Option<Print>>,
    make: Make,
    topic: String,
    /// Made when a record is asked for.
    probe: Mutex<Option<Probe>>,
    watch: Arc<Watch>,
}

impl Consumer {
    /// Joins the group; partitions come as events.
    ///
    /// # Errors
    /// If librdkafka refuses a property; an unreachable broker is no error here.
    pub fn subscribe(options: &ConsumerOptions<'_>) -> Result<Consumer, KafkaError> {
        let consumer = Consumer::new(options)?;
        consumer.join()?;
        Ok(consumer)
    }

    /// One that asks, and is no member of the group before [`Consumer::join`].
    ///
    /// # Errors
    /// As [`Consumer::subscribe`].
    pub fn new(options: &ConsumerOptions<'_>) -> Result<Consumer, KafkaError> {
        let recipe = options.recipe();
        let print = Mutex::new(recipe.print());
        let config = recipe.config()?;
        let watch = Arc::default();
        let context = Context::watched(&watch, options.topic, &recipe, &config);
        let client = oauth::create(&config, context)?;
        Ok(Consumer {
            client: RwLock::new(Arc::new(client)),
            recipe,
            print,
            make: |config, context| oauth::create(config, context),
            topic: options.topic.to_owned(),
            probe: Mutex::default(),
            watch,
        })
    }

    /// Joins the group.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn join(&self) -> Result<(), KafkaError> {
        self.client().subscribe(&[&self.topic])
    }

    /// Has clients made in another way from now on.
    #[cfg(test)]
    pub fn made_by(mut self, make: Make) -> Consumer {
        self.make = make;
        self
    }

    /// Makes the client for [`Consumer::renew`]: by itself, since it may fail, and nothing has to be let
    /// go for it.
    ///
    /// # Errors
    /// If librdkafka cannot make one.
    pub fn another(&self) -> Result<Another, KafkaError> {
        // Before they are read: a change in between is noticed then.
        let print = self.recipe.print();
        let config = self.recipe.config()?;
        let context = Context::watched(&self.watch, &self.topic, &self.recipe, &config);
        let client = Arc::new((self.make)(&config, context)?);
        Ok(Another { client, print })
    }

    /// Whether certificates, keys or the password are other ones than this client was made of.
    pub fn files_changed(&self) -> bool {
        let used = *self.print.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.recipe.print();
        now.is_some() && now != used
    }

    /// Whether such a client gets in, asked before the one that is is given up for it.
    ///
    /// # Errors
    /// In words, if the topic cannot be asked for.
    pub fn try_out(&self, new: &Another) -> Result<(), String> {
        self.watch.try_out();
        let asked = new.client.fetch_metadata(Some(&self.topic), TRY_OUT);
        // Its faults are told by events, of which a poll without time takes one.
        for _ in 0..8 {
            if new.client.poll(TELL_FAULTS).is_none() {
                break;
            }
        }
        let met = self.watch.tried();
        let words = |e: KafkaError| met.as_ref().map_or(e.to_string(), ToString::to_string);
        let metadata = asked.map_err(words)?;
        let error = metadata.topics().first().and_then(|t| t.error());
        error.map_or(Ok(()), |e| Err(words(KafkaError::MetadataFetch(e.into()))))
    }

    /// What is known of the brokers.
    pub fn seen(&self) -> Seen {
        self.watch.seen()
    }

    /// A partition that is held could not be read, by this code.
    pub fn read_failed(&self, code: RDKafkaErrorCode) {
        if code == RDKafkaErrorCode::TopicAuthorizationFailed
            && let Some(fault) = Fault::of_code(code, &self.topic, "")
        {
            self.watch.denied(&fault);
        }
    }

    /// A message came after what [`Consumer::read_failed`] was called for.
    pub fn read_goes_on(&self) {
        self.watch.read();
    }

    /// Asks where the logs of these partitions end, which the client does not hear while it reads none of
    /// them. Ends at the first that is not answered.
    pub fn ask_ends(&self, partitions: &[i32]) {
        let client = self.client();
        for partition in partitions {
            let Ok((_, end)) = client.fetch_watermarks(&self.topic, *partition, ENDS_TIMEOUT)
            else {
                return;
            };
            self.watch.ends_at(*partition, end);
        }
    }

    /// Leaves the group, and joins it anew with a client that knows nothing: every partition comes as an
    /// event again, and `fetched` is the new one's. **To be called once all partitions were let go.**
    ///
    /// librdkafka stops reading a partition whose next offset Kafka does not have, and then refuses to
    /// seek. To take it off and assign it again by ourselves could answer a rebalance that is under way
    /// and that we have not seen. Nor does a client read a topic that was created again.
    ///
    /// It waits for what the thread that commits asks Kafka at this moment. With no partition held that
    /// is no commit, but questions with a limit of [`ASK_TIMEOUT`] each, of which one may be under way and
    /// one may follow: far less than `max.poll.interval.ms`.
    ///
    /// # Errors
    /// If the new client cannot join. To be called again with another.
    pub fn renew(&self, new: Another, fetched: &mut Fetched) -> Result<(), KafkaError> {
        let Another { client: new, print } = new;
        *fetched = Fetched::new(Arc::clone(&new));
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *client, new);
        let context: &Context = old.context();
        context.closing.store(true, Ordering::SeqCst);
        // Closed before the new one joins: of two members with one `group.instance.id` one is fenced.
        drop(old);
        *self.print.lock().unwrap_or_else(PoisonError::into_inner) = print;
        client.subscribe(&[&self.topic])
    }

    fn client(&self) -> RwLockReadGuard<'_, Arc<BaseConsumer<Context>>> {
        self.client.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where messages of assigned partitions come.
    pub fn fetched(&self) -> Fetched {
        Fetched::new(Arc::clone(&self.client()))
    }

    /// The next event, if there is one. To be called all the time, or Kafka takes us for dead.
    pub fn poll(&self) -> Event {
        let client = self.client();
        let polled = client.poll(Duration::ZERO);
        let context: &Context = client.context();
        let tokens = context.tokens.as_ref();
        if tokens.is_some_and(|tokens| tokens.take_refused()) {
            ffi::ask_for_token(&client);
        }
        let rebalance = {
            context
                .rebalances
                .lock()
                .expect("BUG: a callback panicked")
                .pop_front()
        };
        if let Some(r) = rebalance {
            return if r.assign {
                Event::Assign(r.partitions)
            } else {
                Event::Revoke {
                    partitions: r.partitions,
                    lost: client.assignment_lost(),
                }
            };
        }
        match polled {
            // Every partition is forwarded before it is assigned, so no message comes here.
            None | Some(Ok(_)) => Event::Nothing,
            Some(Err(e)) => {
                if let Some((code, words)) = client.client().fatal_error() {
                    return Event::Fatal(format!("{code}: {words}"));
                }
                match Event::trouble(e.rdkafka_error_code(), &e) {
                    // The callback has told it, with more words.
                    Event::Trouble(_) => Event::Nothing,
                    event => event,
                }
            }
        }
    }

    /// Answers [`Event::Assign`]: reading starts at the given offsets, into `fetched`, and is not paused.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn assign(&self, starts: &[Start], fetched: &Fetched) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in starts {
            fetched.forward(&self.topic, start.partition);
            list.add_partition_offset(&self.topic, start.partition, Offset::Offset(start.offset))?;
        }
        ffi::set_epochs(&mut list, starts.iter().map(|s| s.epoch));
        let client = self.client();
        // librdkafka keeps the pause of a partition that was taken away, for when it comes back.
        client.resume(&list)?;
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(&list),
            _ => client.assign(&list),
        }
    }

    /// Answers [`Event::Revoke`].
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn unassign(&self, partitions: &[i32]) -> Result<(), KafkaError> {
        self.watch.let_go(partitions);
        let client = self.client();
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(&self.list(partitions)),
            _ => client.unassign(),
        }
    }

    /// Polling has ended for good; the group is left when the last clone is dropped.
    pub fn close(&self) {
        let client = self.client();
        let context: &Context = client.context();
        context.closing.store(true, Ordering::SeqCst);
    }

    /// Stops or resumes fetching of partitions; polling must go on.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn pause(&self, partitions: &[i32], pause: bool) -> Result<(), KafkaError> {
        let list = self.list(partitions);
        if pause {
            self.client().pause(&list)
        } else {
            self.watch.resumed(partitions);
            self.client().resume(&list)
        }
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }
}
