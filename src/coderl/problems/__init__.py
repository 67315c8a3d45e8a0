"""Problems: one data set a file (mini, apps, mbpp, humaneval, jsonl), each giving `records.Problem`; nothing here runs programs."""
