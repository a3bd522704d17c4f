// Package smsapi holds the wire types of the Huawei Cloud SMS v3 API: its field names, ranges, enums, defaults, errors and
// its request signature. The API's spellings and units live only here.
//
// Requests are checked by [Decode] against the `rule` tag of each field; answers are decoded with encoding/json and keep
// unknown enum values and unknown fields harmless, because the service adds both without notice.
//
// The public documents contradict each other in places. Decided here:
//   - migrate_speed is Mbit/s everywhere (one page says MB/s, one Mb/s; the vendor's SDK and console say Mbit/s);
//   - required fields are those of the CreateTask page, although the SDK leaves some of them out;
//   - start_target_server defaults to true (one page says false) and is always sent;
//   - priority is accepted from 0 to 65535 (CreateTask) and shown as 0 to 2 (ShowTask);
//   - block_count and inode_size are 64 bits wide: their documented maximum does not fit the documented type;
//   - btrfs_list is a list of objects in requests, of strings in answers, and both are read;
//   - a source's memory is MB when it registers and is shown, bytes in a list;
//   - changestate writes init where answers read initialize, and is taken in any case;
//   - the two spellings of the advanced options mean the same (ConfigKey);
//   - commands and operations on tasks are the union of what the documents of all years list;
//   - a limit by the time of day is taken up to 10000 Mbit/s and lowered to 1000, which the text calls the highest;
//   - evaluation_result has 6 to 8 characters, and no documented values;
//   - total_time has no documented unit: it is milliseconds here, as every other time;
//   - a null is an absent field.
//
// It uses the standard library only and guarantees nothing about what a value means to the service.
package smsapi
