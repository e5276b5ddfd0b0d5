//! Tells people about a live run who do not watch it: in the background, each receiver for itself, and says in the journal what became of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::environment::Environment;
use crate::engine::orders::{Order, OrderRequest};
use crate::event::{Notice, RunState, Teller, Watch};
use crate::model::{Delivery, Message, Notified};
use crate::notify::{Courier, Notify};
use crate::secret::Secrets;

/// How long the end of a run waits for messages that nobody has taken yet.
const LINGER: Duration = Duration::from_secs(30);

/// Those who are told.
pub struct Receivers {
    messages: Vec<(Notify, mpsc::UnboundedSender<Message>)>,
    carriers: Vec<JoinHandle<()>>,
    /// Tells carriers that the run has ended, and that their time is up.
    over: watch::Sender<bool>,
    /// Gives what could not be recorded while the run was live.
    keeper: JoinHandle<Vec<Notified>>,
}

impl Receivers {
    /// Begins to carry messages to all of them. What becomes of each is recorded through `give` for as long as somebody takes orders there.
    pub fn start(
        notify: &[Notify],
        secrets: Arc<dyn Secrets>,
        environment: &Environment,
        give: mpsc::Sender<OrderRequest>,
    ) -> Self {
        let courier = Arc::new(Courier::new(secrets));
        let (told, news) = mpsc::unbounded_channel();
        let (over, _) = watch::channel(false);
        let (mut messages, mut carriers) = (Vec::new(), Vec::new());
        for one in notify {
            let (send, queue) = mpsc::unbounded_channel();
            messages.push((one.clone(), send));
            let carried = carry(Arc::clone(&courier), one.clone(), queue, told.clone(), over.subscribe());
            carriers.push(tokio::spawn(carried));
        }
        let keeper = tokio::spawn(keep(news, environment.clone(), give));
        Self { messages, carriers, over, keeper }
    }

    /// What tells them of what happens.
    pub fn watcher(&mut self, state: &RunState) -> Option<Box<dyn Watch>> {
        let messages = std::mem::take(&mut self.messages);
        let herald = Herald { teller: Teller::new(state), messages };
        (!herald.messages.is_empty()).then(|| Box::new(herald) as Box<dyn Watch>)
    }

    /// After the run has ended: waits a while for what is still under way, and gives what is not in the journal.
    pub async fn end(self) -> Vec<Notified> {
        let over = self.over;
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            let _ = over.send(true);
            // Whoever looks later must still see it.
            std::future::pending::<()>().await;
        });
        for carrier in self.carriers {
            let _ = carrier.await;
        }
        alarm.abort();
        self.keeper.await.unwrap_or_default()
    }
}

/// Finds messages, and puts each where it is carried from.
struct Herald {
    teller: Teller,
    messages: Vec<(Notify, mpsc::UnboundedSender<Message>)>,
}

impl Watch for Herald {
    fn see(&mut self, notice: &Notice) {
        let Some(message) = self.teller.message(notice) else { return };
        for (_, send) in self.messages.iter().filter(|(notify, _)| notify.on.contains(&message.occasion)) {
            // Nobody carries for a receiver any more whose task broke down.
            let _ = send.send(message.clone());
        }
    }

    fn close(&mut self) {
        self.messages.clear();
    }
}

/// Carries the messages for one receiver, in their order.
async fn carry(
    courier: Arc<Courier>,
    notify: Notify,
    mut queue: mpsc::UnboundedReceiver<Message>,
    told: mpsc::UnboundedSender<Notified>,
    mut over: watch::Receiver<bool>,
) {
    while let Some(message) = queue.recv().await {
        let delivery = tokio::select! {
            biased;
            delivery = courier.bring(&notify, &message) => delivery,
            Ok(_) = over.wait_for(|over| *over) => {
                let why = "the run had ended, and its controller did not wait any longer".to_owned();
                Delivery::GivenUp { tries: 0, why }
            }
        };
        let to = notify.channel.key().to_owned();
        let _ = told.send(Notified { to, occasion: message.occasion, step: message.step, delivery });
    }
}

/// Has recorded what became of messages; gives what nobody could record any more.
async fn keep(
    mut news: mpsc::UnboundedReceiver<Notified>,
    environment: Environment,
    give: mpsc::Sender<OrderRequest>,
) -> Vec<Notified> {
    let mut left = Vec::new();
    while let Some(notified) = news.recv().await {
        let (answer, answered) = oneshot::channel();
        let order = Order::Note { notified: notified.clone() };
        let request = OrderRequest { order, by: environment.operator(), answer };
        let taken = give.send(request).await.is_ok() && matches!(answered.await, Ok(Ok(())));
        if !taken {
            left.push(notified);
        }
    }
    left
}
