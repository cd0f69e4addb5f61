import time
from tests.consumer.kafka import *
from consumer.reader import read_partition, end_offset
from consumer.clients import reader_config
def test_x(broker):
    d = Deployment.on(broker)
    d.send_events(make_events(40,12))
    t=d.settings.topics.events
    def ts(name,f):
        out=[]
        for p in range(12):
            a=time.monotonic(); f(p%4); out.append(time.monotonic()-a)
        print(name, " ".join(f"{x:.3f}" for x in out))
    ts("end_offset", lambda p: end_offset(d.settings.kafka,t,p))
    def water(p):
        c=Consumer({**reader_config(d.settings.kafka),"isolation.level":"read_uncommitted"})
        r=c.get_watermark_offsets(TopicPartition(t,p),timeout=30); c.close(); return r
    ts("water", water)
    ts("read", lambda p: list(read_partition(d.settings.kafka,t,p,120,no_progress_seconds=30)))
    # an aborted tail / marker tail
