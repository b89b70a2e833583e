"""Classic agents (`asst_…`), which retire on 2027-03-31: threads and runs."""
