//! Our place in the consumer group.

use std::sync::Arc;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use selvedge_model::SteadyTime;

use crate::context::{Context, Turn};

/// A partition list that is given back when nothing of it is on its way.
pub(crate) struct Revoked {
    pub(crate) list: TopicPartitionList,
    pub(crate) until: SteadyTime,
}

/// Our place in the group. Dropped, it is given up, with the stored offsets committed; that blocks until brokers answer.
pub(crate) struct Member {
    pub(crate) consumer: Arc<StreamConsumer<Context>>,
    pub(crate) revoked: Vec<Revoked>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let context = self.consumer.context();
        context.close();
        let asked = context.turns().into_iter().filter_map(|turn| match turn {
            Turn::Revoke(list) => Some(list),
            Turn::Assign(_) => None,
        });
        // The client waits for our answer to whatever it has asked, and would for ever.
        for list in self.revoked.drain(..).map(|revoked| revoked.list).chain(asked) {
            context.report("partitions were not given back", self.consumer.incremental_unassign(&list));
        }
    }
}
