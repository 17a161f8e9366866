INSERT INTO counters (name, value) VALUES ('hot', 1)
  ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value;
